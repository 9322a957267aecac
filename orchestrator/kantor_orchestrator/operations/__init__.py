"""What the command line and the API share: the acts of operators, and what condition the platform is in."""
