"""Runs tests of Python's unittest and says how each ends, one a line, as Go's
tests do. Arguments: modules, or tests by their full names."""

import sys
import unittest


class Result(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.outcome, self.why = "PASS", ""

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.outcome = "SKIP"

    def addError(self, test, err):
        super().addError(test, err)
        self.outcome, self.why = "FAIL", self.errors[-1][1]

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.outcome, self.why = "FAIL", self.failures[-1][1]

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(subtest, err)

    def stopTest(self, test):
        super().stopTest(test)
        if self.why:
            print("=== RUN  ", test.id(), "\n" + self.why)
        print(f"--- {self.outcome}: {test.id()} (0s)", flush=True)


loader = unittest.defaultTestLoader
tests = loader.loadTestsFromNames(sys.argv[1:])
if loader.errors:
    sys.exit("\n".join(loader.errors))
tests.run(Result())
