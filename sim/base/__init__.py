"""What all adapters share: options that check themselves, spaces, poses, a state as a vector."""
