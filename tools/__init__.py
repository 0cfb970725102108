"""Programs that make what the packages ship. No part of the packages: they stand on these by their public interfaces."""
