"""Is a shard set on disk what its manifest says, to the last byte and label? And if not: where, and repaired."""

from stamp_data.verify.fault import Fault
from stamp_data.verify.repair import Repaired, repair
from stamp_data.verify.sets import unguarded, verify_set

__all__ = ["Fault", "Repaired", "repair", "unguarded", "verify_set"]
