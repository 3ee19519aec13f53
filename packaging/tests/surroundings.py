"""What the service has to do with the machine around it, under its real unit: the kernel, the journal, the sandbox, other programs."""

import json
import os
import pwd
import shutil
import socket
import subprocess

from load import PROXY, once, request
from machine import Steps, expect, is_active, listen_on, pid, recipe, recipes, replace, run, show, wait

step = Steps()

ACCESS_LOG = "journalctl --identifier outrider-access --output cat --no-pager"
SERVICE_LOG = "journalctl --identifier outrider --output cat --no-pager"
DROP_INS = "/etc/systemd/system/outrider.service.d"


def connect_through(authority):
    """The whole answer to a CONNECT."""
    with socket.create_connection(("127.0.0.1", 3128), 10) as client:
        client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


@step
def the_proxy_is_not_its_own_destination_by_any_address():
    # Of these, the listener's address tells nothing: only the kernel knows them.
    run("ip address add 192.0.2.7/32 dev lo; ip address add 2001:db8::7/128 dev lo nodad")
    listen_on("[::]:3128")
    replace('allow = ["127.0.0.0/8"]', 'allow = ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]')
    run("systemctl reload outrider")
    for address in ["127.0.0.1", "127.5.5.5", "[::1]", "192.0.2.7", "[2001:db8::7]"]:
        answer = connect_through(f"{address}:3128")
        expect(" 403 " in answer.splitlines()[0] and "own_listener" in answer, f"{address}: {answer}")
    answer = connect_through("192.0.2.8:3128")
    expect("own_listener" not in answer, f"not of this machine: {answer}")
    replace('allow = ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]', 'allow = ["127.0.0.0/8"]')
    listen_on("127.0.0.1:3128", "[::1]:3128")
    run("systemctl reload outrider; ip address delete 192.0.2.7/32 dev lo; ip address delete 2001:db8::7/128 dev lo")


@step
def the_kernel_is_asked_for_addresses_in_the_sandbox():
    told = run(SERVICE_LOG)
    expect("cannot ask the kernel" not in told, told)


@step
def the_access_log_is_apart_from_the_service_log():
    # journald would make two entries of a line as long as this.
    once("/" + "long" * 14_000)
    once("/found-in-the-journal")
    wait("the line", lambda: "/found-in-the-journal" in run(ACCESS_LOG))
    lines = [json.loads(line) for line in run(ACCESS_LOG).splitlines()]
    expect(all("request_id" in line and "client" in line for line in lines), "other lines among them")
    service = run(SERVICE_LOG).splitlines()
    expect(service and not any("request_id" in line or line.startswith("{") for line in service), "access log in the service log")
    units = {json.loads(line)["_SYSTEMD_UNIT"] for line in run(f"{ACCESS_LOG} --output json").splitlines()}
    expect(units == {"outrider.service"}, f"{units}")
    return f"{len(lines)} lines, and {len(service)}"


@step
def no_line_of_a_busy_time_is_left_out():
    # The journal's limit, so low that few requests reach it.
    os.makedirs("/etc/systemd/journald.conf.d")
    with open("/etc/systemd/journald.conf.d/limit.conf", "w") as file:
        file.write("[Journal]\nRateLimitIntervalSec=60s\nRateLimitBurst=10\n")
    run("systemctl restart systemd-journald")
    with socket.create_connection(PROXY, 30) as client:
        for _ in range(500):
            request(client, "/busy", close=False)
    wait("every line", lambda: run(ACCESS_LOG).count("8000/busy") == 500)
    os.remove("/etc/systemd/journald.conf.d/limit.conf")
    os.rmdir("/etc/systemd/journald.conf.d")
    run("systemctl restart systemd-journald")


@step
def the_access_log_outlives_the_journal():
    run("systemctl restart systemd-journald")
    once("/after-a-restart-of-the-journal")
    wait("the line", lambda: "/after-a-restart-of-the-journal" in run(ACCESS_LOG))
    run("systemctl kill --signal=SIGKILL systemd-journald")
    wait("the journal is there again", lambda: run("systemctl is-active systemd-journald", expect=None).strip() == "active")
    once("/after-a-death-of-the-journal")
    wait("the line", lambda: "/after-a-death-of-the-journal" in run(ACCESS_LOG))


@step
def a_log_beyond_the_sandbox_is_told_with_what_to_do():
    os.makedirs("/srv/log")
    shutil.chown("/srv/log", "outrider", "outrider")
    replace('#path = "-"', 'path = "/srv/log/access.log"')
    run("systemctl reload outrider", expect=1)
    told = show("StatusText")
    expect("not reloaded" in told and "systemctl edit outrider" in told and "ReadWritePaths=/srv/log" in told, told)
    expect(once()[0] == 200, "the service suffered")
    run("systemctl restart outrider", expect=1)
    expect(show("ExecMainStatus") == "2" and show("NRestarts") == "0", f"exit {show('ExecMainStatus')}, {show('NRestarts')} restarts")
    expect("ReadWritePaths=/srv/log" in show("StatusText"), show("StatusText"))
    # The words of the message, done.
    os.makedirs(DROP_INS, exist_ok=True)
    with open(f"{DROP_INS}/override.conf", "w") as file:
        file.write("[Service]\nReadWritePaths=/srv/log\n")
    run("systemctl daemon-reload; systemctl restart outrider")
    once("/beyond-the-sandbox")
    wait("the line", lambda: "/beyond-the-sandbox" in open("/srv/log/access.log").read())
    replace('path = "/srv/log/access.log"', '#path = "-"')
    shutil.rmtree(DROP_INS)
    run("systemctl daemon-reload; systemctl restart outrider")
    shutil.rmtree("/srv/log")


@step
def a_low_port_without_the_socket_unit_is_told_with_what_to_do():
    listen_on("127.0.0.1:80")
    run("systemctl reload outrider", expect=1)
    expect("127.0.0.1:80" in show("StatusText") and "socket unit" in show("StatusText"), show("StatusText"))
    listen_on("127.0.0.1:3128", "[::1]:3128")
    run("systemctl reload outrider")


@step
def check_by_root_knows_what_the_service_may_read_and_its_admin_socket():
    output = run("outrider check --strict")
    expect("/run/outrider/admin.sock" in output, output)
    path = "/etc/outrider/conf.d/secret.toml"
    with open(path, "w") as file:
        file.write("[server]\n")
    os.chmod(path, 0o600)
    run("systemctl reload outrider", expect=1)
    expect(path in show("StatusText"), show("StatusText"))
    output = run("outrider check")
    expect(f"the user outrider, who cannot read {path}" in output, output)
    run("outrider check --strict", expect=2)
    # The remedy, as it is told.
    remedy = output.split("= help: ")[1].split(", and")[0]
    run(remedy)
    expect("cannot read" not in run("outrider check --strict"), "still")
    run("systemctl reload outrider")
    os.remove(path)
    run("systemctl reload outrider")
    return remedy


@step
def the_admin_socket_is_for_the_group():
    run("curl --silent --show-error --fail --unix-socket /run/outrider/admin.sock http://localhost/stats")
    numbers = pwd.getpwnam("nobody")
    # Exit code 7: could not connect.
    stranger = subprocess.run(["curl", "--silent", "--unix-socket", "/run/outrider/admin.sock", "http://localhost/stats"], user=numbers.pw_uid,
                              group=numbers.pw_gid, extra_groups=[], capture_output=True)
    expect(stranger.returncode == 7, f"{stranger}")


@step
def apt_is_told_of_the_proxy_and_no_more():
    run("outrider env --shell apt --install")
    told = run("apt-config dump Acquire::http::Proxy")
    expect('"http://127.0.0.1:3128' in told, told)
    expect("nothing to change" in run("outrider env --shell apt --install"), "changed twice")
    run("outrider env --shell apt --remove")
    expect("3128" not in run("apt-config dump Acquire::http::Proxy"), "still there")


@step
def what_the_document_has_to_paste_works():
    # "Ports below 1024" has a step of its own. A new one needs a test here.
    expect(set(recipes()) == {"From a package", "Configuration in several files", "Other addresses", "Ports below 1024"}, f"{set(recipes())}")
    # The packages are installed already, and dnf is another system's.
    for line in recipes()["From a package"]:
        if not line.startswith(("apt install", "dnf install")):
            run(line.split("#")[0] + (" --no-pager" if "status" in line else ""))
    recipe("Configuration in several files")
    expect("backup" in run("curl --silent --unix-socket /run/outrider/admin.sock http://localhost/config_dump"), "the rule is not in force")
    run("rm /etc/outrider/conf.d/backup.toml")
    recipe("Other addresses")
    for address in ("127.0.0.1", "::1"):
        expect(once(address=(address, 3128))[0] == 200, f"{address} is not served")
    listen_on("127.0.0.1:3128", "[::1]:3128")
    run("systemctl reload outrider")
    commands = [cell.split("`")[1] for line in open("/tests/install.md") if line.startswith("|") for cell in line.split("|") if cell.strip().startswith(("`journalctl", "`curl"))]
    expect(len(commands) == 3, f"{commands}")
    return "; ".join(f"{len(run(command))} bytes of {command.split()[0]}" for command in commands)


@step
def manual_and_documents_are_there():
    pages = {os.path.basename(path) for path in run("dpkg-query --listfiles outrider").split() if "/man/man" in path}
    expect(pages >= {"outrider.8.gz", "outrider.toml.5.gz", "outrider-policy.5.gz", "outrider-log.5.gz"}, f"{pages}")
    listed = [path for path in run("dpkg-query --listfiles outrider").split() if path != "/."]
    missing = [path for path in listed if not os.path.exists(path)]
    expect(not missing, f"{missing}")
    table = [line for line in open("/tests/install.md") if line.startswith("| these documents")]
    expect(table and run("ls /usr/share/doc/outrider/*.md"), "no documents")
    return f"{len(listed)} files"


@step
def what_it_takes_at_rest():
    run("systemctl restart outrider")
    wait("it is active", is_active)
    fields = dict(line.split(":", 1) for line in open(f"/proc/{pid()}/status"))
    return f"{' '.join(fields['VmRSS'].split())} resident, {len(os.listdir(f'/proc/{pid()}/task'))} threads, {len(os.listdir(f'/proc/{pid()}/fd'))} descriptors"
