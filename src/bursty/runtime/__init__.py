"""What runs in the worker, beside the user's packages: the only code that calls a user's function.

Standard library, cloudpickle (and msgspec for JSON calls), imported when first needed; nothing else.
"""

from bursty.runtime.describe import describe
from bursty.runtime.execute import execute

__all__ = ["describe", "execute"]
