"""What moves behind a robot in its images and has nothing to do with it."""
