"""A tabletop task of our own: a Panda's hand, objects, goals."""
