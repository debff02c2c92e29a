"""One file per kind of robot; a driver only translates."""
