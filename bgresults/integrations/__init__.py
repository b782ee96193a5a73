"""What ties the library to others; each package needs an extra of its own."""
