"""Charter as others import it: `charter.integrations` for trainers elsewhere, `charter.v1` for the contracts' stubs."""
