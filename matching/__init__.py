"""Two photos, point by point: which points match, and do they agree on one geometry?"""

from .verification import Verification, verify, verify_many

__all__ = ["Verification", "verify", "verify_many"]
