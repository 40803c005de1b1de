"""What the Python scenarios share: steps that are printed so that runs can be compared.

A line is "step: what was seen". The first argument is plain (a policy that forbids nothing, or no proxy) or policy,
where customers.email is masked and customers.ssn must not be compared.
"""
import sys
import traceback

POLICY = sys.argv[1] == "policy"


def said(step, *seen):
    print(f"{step}: " + " ".join(str(s) for s in seen), flush=True)


def step(name, f):
    try:
        said(name, f())
    except Exception as e:  # a step that fails is a result too
        traceback.print_exc()
        said(name, "FAILED", type(e).__name__, e)
