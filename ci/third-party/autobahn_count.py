"""Counts an Autobahn report; the exit status is 0 when no case failed.

OK and INFORMATIONAL pass (the suite's own meaning), NON-STRICT is a correct end with another timing.
"""

import json
import sys
from collections import Counter

with open(sys.argv[1], encoding="utf-8") as report:
    cases = json.load(report)["anser"]
behaviours = Counter(case["behavior"] for case in cases.values())
closes = Counter(case["behaviorClose"] for case in cases.values())
bad = [
    f"{name}: {case['behavior']}, close {case['behaviorClose']}"
    for name, case in cases.items()
    if case["behavior"] not in ("OK", "INFORMATIONAL", "NON-STRICT")
    or case["behaviorClose"] not in ("OK", "INFORMATIONAL")
]
print(", ".join(f"{count} {name}" for name, count in behaviours.most_common()))
print("\n".join(bad), file=sys.stderr)
sys.exit(bool(bad) or not cases)
