#!/usr/bin/env python3
"""usage: run_test.py PROGRAM [--write]

Runs one example and compares what it prints with expected/NAME.txt (--write: writes that file).
The example that fetches URLs gets the addresses of a server that is started here on loopback.
"""

import difflib
import http.server
import pathlib
import re
import socket
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
PAGES = {"/one": 1000, "/two": 20000, "/three": 300000, "/empty": 0}


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"x" * PAGES[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def run(program, *arguments):
    done = subprocess.run([program, *arguments], stdout=subprocess.PIPE, text=True, timeout=50)
    if done.returncode != 0:
        sys.exit(f"{program} ended with {done.returncode}; it printed:\n{done.stdout}")
    return done.stdout


def run_with_urls(program):
    """Pages arrive in any order, so the lines are sorted; ports and curl's wording vary."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with socket.socket() as dead:  # bound, so that nobody else gets the port; it never listens
        dead.bind(("127.0.0.1", 0))
        ports = {server.server_port: "PORT", dead.getsockname()[1]: "DEAD-PORT"}
        urls = [f"http://127.0.0.1:{server.server_port}{path}" for path in PAGES]
        urls.append(f"http://127.0.0.1:{dead.getsockname()[1]}/")
        try:
            text = run(program, *urls)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    for port, name in ports.items():
        text = text.replace(f":{port}/", f":{name}/")
    text = re.sub(r"Could(n't| not) connect.*", "could not connect", text)
    return "".join(sorted(text.splitlines(keepends=True)))


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    expected = HERE / "expected" / f"{program.name}.txt"
    text = run_with_urls(program) if program.name == "as_completed_urls" else run(program)
    if sys.argv[2:] == ["--write"]:
        expected.write_text(text)
    if text != expected.read_text():
        sys.stdout.writelines(difflib.unified_diff(
            expected.read_text().splitlines(True), text.splitlines(True), str(expected), "printed"))
        sys.exit(1)


main()
