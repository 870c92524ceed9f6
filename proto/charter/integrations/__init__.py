"""Charter inside other people's trainers. Each module needs that trainer's package, and the extra `http` of ours."""
