"""What `mentorkit doctor` looks at, a module each: packages, the hub, graphics processors, memory and disk."""
