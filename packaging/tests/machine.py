"""What the steps do again and again: commands, the configuration file, and waiting."""

import re
import socket
import subprocess
import time

from load import Load

CONFIG = "/etc/outrider/outrider.toml"


def run(command, expect=0):
    result = subprocess.run(command, shell=True, capture_output=True, text=True)
    output = result.stdout + result.stderr
    if expect is not None and (result.returncode == 0) != (expect == 0):
        raise AssertionError(f"`{command}` exited with {result.returncode}:\n{output}")
    return output


def show(name):
    return run(f"systemctl show --value --property={name} outrider").strip()


def pid():
    return int(show("MainPID"))


def edit(change):
    with open(CONFIG) as file:
        text = change(file.read())
    with open(CONFIG, "w") as file:
        file.write(text)


def replace(old, new):
    def change(text):
        assert old in text, f"no {old!r} in the file"
        return text.replace(old, new)

    edit(change)


def wait(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


def is_active():
    return run("systemctl is-active outrider", expect=None).strip() == "active"


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
        return True
    except ConnectionRefusedError:
        return False


def listen_on(*addresses):
    lines = ", ".join(f'"{address}"' for address in addresses)
    edit(lambda text: re.sub(r"\naddresses = \[.*\]", f"\naddresses = [{lines}]", text, count=1))


def expect(condition, what):
    assert condition, what


def recipes():
    """The lines to paste that the document has, by their titles."""
    sections = open("/tests/install.md").read().split("\n## ")[1:]
    found = {section.splitlines()[0]: [line.removeprefix("    ") for line in section.splitlines() if line.startswith("    ")] for section in sections}
    return {title: lines for title, lines in found.items() if lines}


def recipe(title):
    """Pastes them."""
    return run("set -e\n" + "\n".join(recipes()[title]))


def under_load(act):
    with Load() as load:
        act()
    figures = load.figures()
    expect(not load.failures, figures)
    return figures


class Steps(list):
    """A decorator that keeps the order in which its functions are written."""

    def __call__(self, function):
        self.append(function)
        return function
