"""Charter as others import it: `charter.integrations` for trainers elsewhere, `charter.v1` for the contracts' stubs."""

from pkgutil import extend_path

# The stubs lie beside their .proto files; an installed wheel has both in one folder.
__path__ = extend_path(__path__, __name__)
