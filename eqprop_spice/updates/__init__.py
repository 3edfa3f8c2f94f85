"""How a device takes the changes that an optimizer asks for."""
