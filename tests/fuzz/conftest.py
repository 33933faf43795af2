"""How many cases the fuzz tests try: a few fixed ones by default, many random ones with TPUSEG_FUZZ_EXAMPLES=2000."""

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("TPUSEG_FUZZ_EXAMPLES", "0"))

settings.register_profile(
    "fuzz",
    max_examples=_EXAMPLES or 25,
    derandomize=not _EXAMPLES,  # The default run always tries the same cases.
    database=None,
    deadline=None,  # `outcomes.result_or_error` has a limit of its own; the first call may import TensorFlow.
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile("fuzz")
