"""The soak test, in short; ./dev check python-soak is the long one."""

import subprocess
import sys
import unittest

from support import HERE, WATCHED, environment


class Storm(unittest.TestCase):
    def test_some_rounds(self):
        rounds = "10" if WATCHED else "32"
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-W", "ignore", str(HERE / "storm.py"),
                               "rounds", rounds, "1"], env=environment(), text=True, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"{rounds} rounds, no error", done.stdout)


if __name__ == "__main__":
    unittest.main()
