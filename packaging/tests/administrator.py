"""What an administrator does with the package, from installation to purge. Runs inside the test machine."""

import glob
import os
import re
import signal
import socket
import threading
import time

import surroundings
from load import BODY, Load, Origin, once
from machine import CONFIG, Steps, connects, edit, expect, is_active, listen_on, pid, recipe, replace, run, show, under_load, wait

step = Steps()


@step
def installs_and_starts():
    run("apt-get install --yes --no-install-recommends /packages/first.deb")
    expect(is_active(), run("systemctl status outrider", expect=None))
    expect(run("systemctl is-enabled outrider").strip() == "enabled", "not enabled")
    expect(run(f"ps -o user= -p {pid()}").strip() == "outrider", "runs as another user")
    return show("StatusText")


@step
def the_unit_is_hardened():
    line = run("systemd-analyze security outrider --no-pager").splitlines()[-1]
    score = float(re.search(r"(\d+\.\d+)", line).group(1))
    expect(score <= 1.3, line)
    return f"exposure {score}"


@step
def the_unit_is_well_formed():
    output = run("SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no /lib/systemd/system/outrider.service /lib/systemd/system/outrider.socket")
    expect(not output.strip(), output)


@step
def curl_goes_through_and_loopback_is_refused():
    output = run("curl --silent --show-error --proxy http://127.0.0.1:3128 --include http://127.0.0.1:8000/")
    expect(" 403 " in output.splitlines()[0], output)


@step
def an_edit_is_in_force_when_reload_returns():
    replace('#allow = []', 'allow = ["127.0.0.0/8"]')
    before = pid()
    run("systemctl reload outrider")
    expect(once()[0] == 200, "loopback is still refused")
    expect(pid() == before, "another process")


@step
def a_bad_edit_fails_and_changes_nothing():
    before = pid()
    replace("[dns]", "[dns]\ndns_query_timeout = 5\nnonsense = true")
    output = run("systemctl reload outrider", expect=1)
    status = run("systemctl status outrider --no-pager --full")
    expect("nonsense" in status, status)
    expect("not reloaded" in show("StatusText"), show("StatusText"))
    expect(is_active() and pid() == before and once()[0] == 200, "the service suffered")
    replace("[dns]\ndns_query_timeout = 5\nnonsense = true", "[dns]")
    run("systemctl reload outrider")
    expect("not reloaded" not in show("StatusText"), show("StatusText"))
    return show("StatusText")


@step
def a_reload_adds_and_removes_listeners_in_mid_download():
    answers = []
    download = threading.Thread(target=lambda: answers.append(once("/slow/30")))
    download.start()
    time.sleep(0.5)
    replace('"[::1]:3128"]', '"[::1]:3128", "127.0.0.1:3129"]')
    run("systemctl reload outrider")
    expect(connects(3129), "the new address refuses")
    replace('"[::1]:3128", "127.0.0.1:3129"]', '"[::1]:3128"]')
    run("systemctl reload outrider")
    expect(not connects(3129), "the old address accepts")
    replace('name = "default"', 'name = "renamed"')
    run("systemctl reload outrider")
    replace('name = "renamed"', 'name = "default"')
    run("systemctl reload outrider")
    download.join(30)
    expect(answers and answers[0][:2] == (200, 30 * len(BODY)), f"the download: {answers}")


CHANGES = [
    ["0.0.0.0:3128"], ["127.0.0.1:3128"], ["[::]:3128"], ["127.0.0.1:3128", "0.0.0.0:3128"], ["[::]:3128", "0.0.0.0:3128", "127.0.0.1:3129"],
    ["127.0.0.1:3128", "[::1]:3128"],
]


def change_addresses(how):
    def act():
        for addresses in CHANGES:
            listen_on(*addresses)
            run("outrider check")
            run(f"systemctl {how} outrider")
            time.sleep(0.5)
            for address in addresses:
                expect(address in show("StatusText"), show("StatusText"))

    figures = under_load(act)
    expect(show("NRestarts") == "0", f"{show('NRestarts')} restarts")
    return figures


@step
def addresses_change_by_reload_under_load():
    return change_addresses("reload")


@step
def addresses_change_by_restart_under_load():
    return change_addresses("restart")


@step
def all_addresses_are_those_of_both_families():
    listen_on("[::]:3128")
    run("systemctl reload outrider")
    for address in ["127.0.0.1", "::1"]:
        socket.create_connection((address, 3128), 5).close()
    listen_on("127.0.0.1:3128", "[::1]:3128")
    run("systemctl reload outrider")


@step
def a_taken_address_is_told_and_not_tried_again():
    run("systemctl stop outrider")
    with socket.create_server(("127.0.0.1", 3128)):
        run("systemctl start outrider", expect=1)
        time.sleep(1.5)
        expect(run("systemctl is-failed outrider", expect=None).strip() == "failed", "not at rest")
        expect(show("NRestarts") == "0", f"tried again {show('NRestarts')} times")
        expect(show("ExecMainStatus") == "2", f"exit code {show('ExecMainStatus')}")
        expect("127.0.0.1:3128" in show("StatusText") and "stop it" in show("StatusText"), show("StatusText"))
    run("systemctl start outrider")
    expect(once()[0] == 200, "does not serve")


@step
def an_address_that_comes_late_is_waited_for():
    listen_on("127.0.0.1:3128", "192.0.2.1:3128")
    run("systemctl --no-block restart outrider")
    wait("it says what it waits for", lambda: "192.0.2.1:3128" in show("StatusText"))
    run("ip address add 192.0.2.1/32 dev lo")
    wait("it is active", is_active)
    listen_on("127.0.0.1:3128", "[::1]:3128")
    run("systemctl reload outrider; ip address delete 192.0.2.1/32 dev lo")


@step
def reloads_under_load():
    return under_load(lambda: [run("systemctl reload outrider") for _ in range(20)])


@step
def restarts_under_load():
    return under_load(lambda: [run("systemctl restart outrider") for _ in range(20)])


@step
def an_open_tunnel_does_not_hold_up_a_restart_for_longer_than_the_drain():
    replace('#drain_timeout = "30s"', 'drain_timeout = "2s"')
    run("systemctl reload outrider")
    with socket.create_connection(("127.0.0.1", 3128), 30) as tunnel:
        tunnel.sendall(b"CONNECT 127.0.0.1:8000 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n")
        expect(b" 200 " in tunnel.recv(1000), "no tunnel")
        began = time.monotonic()
        figures = under_load(lambda: run("systemctl restart outrider"))
        took = time.monotonic() - began
    expect(took < 8, f"took {took:.1f} s")
    replace('drain_timeout = "2s"', '#drain_timeout = "30s"')
    run("systemctl reload outrider")
    return figures


@step
def clients_are_served_while_a_download_holds_up_a_restart():
    answers = []
    download = threading.Thread(target=lambda: answers.append(once("/slow/50")))
    download.start()
    time.sleep(0.5)

    def act():
        began = time.monotonic()
        run("systemctl restart outrider")
        return time.monotonic() - began

    with Load() as load:
        took = act()
    download.join(30)
    expect(not load.failures, load.figures())
    expect(answers and answers[0][:2] == (200, 50 * len(BODY)), f"the download: {answers}")
    expect(took > 3 and load.slowest < 2, f"the restart took {took:.1f} s; {load.figures()}")
    return f"the restart took {took:.1f} s; {load.figures()}"


@step
def the_pac_file_works_in_an_evaluator():
    import pacparser

    text = run("curl --silent --show-error --fail http://127.0.0.1:3128/proxy.pac")
    pacparser.init()
    pacparser.parse_pac_string(text)
    through = "PROXY 127.0.0.1:3128"
    for host, answer in {
        "example.org": through, "127.0.0.1": "DIRECT", "localhost": "DIRECT", "intranet": "DIRECT", "10.1.2.3": "DIRECT",
        "192.168.0.1": "DIRECT", "172.32.0.1": through, "192.0.2.1": through, "10.example.org": through,
    }.items():
        found = pacparser.find_proxy(f"http://{host}/", host)
        expect(found == answer, f"{host}: {found}, not {answer}")


@step
def more_and_fewer_workers_under_load():
    def act():
        for workers in ["4", "1", "3", '"auto"']:
            edit(lambda text: re.sub(r'\n#?workers = ("auto"|\d+)', f"\nworkers = {workers}", text))
            run("systemctl restart outrider")
            time.sleep(4)

    figures = under_load(act)
    expect("workers" in show("StatusText"), "no status")
    return f"{figures}; {show('NFileDescriptorStore')} sockets kept"


@step
def killed_it_comes_back_and_refuses_nobody():
    before = pid()
    # Those in flight die with the process; nobody who connects afterwards is turned away.
    os.kill(before, signal.SIGKILL)
    answers = [once()[0] for _ in range(5)]
    expect(answers == [200] * 5, f"{answers}")
    wait("another process", lambda: pid() not in (0, before))
    with Load(kept=0, tunnels=0) as load:
        os.kill(pid(), signal.SIGKILL)
        time.sleep(1)
    refused = {what: count for what, count in load.failures.items() if "Refused" in what}
    expect(not refused, load.figures())
    expect(sum(load.failures.values()) <= 12, load.figures())
    return load.figures().replace("\n       ", "; ")


@step
def hung_it_is_ended_by_the_watchdog():
    before = pid()
    os.kill(before, signal.SIGSTOP)
    # A thread that runs on for a moment could take the connection with it.
    wait("it hangs", lambda: all("\nState:\tT" in open(status).read() for status in glob.glob(f"/proc/{before}/task/*/status")))
    began = time.monotonic()
    expect(once(timeout=60)[0] == 200, "no answer")
    took = time.monotonic() - began
    wait("another process", lambda: pid() not in (0, before))
    expect("watchdog" in run("journalctl --unit outrider --no-pager").lower(), "nothing about a watchdog")
    return f"answered after {took:.1f} s"


@step
def a_broken_file_at_start_is_told_and_not_tried_again():
    replace("[dns]", "[dns]\nnonsense = true")
    run("systemctl restart outrider", expect=1)
    time.sleep(1.5)
    expect(run("systemctl is-failed outrider").strip() == "failed", "not failed")
    expect(show("NRestarts") == "0", f"tried again {show('NRestarts')} times")
    expect("nonsense" in run("systemctl status outrider --no-pager --full", expect=None), "no reason")
    replace("[dns]\nnonsense = true", "[dns]")
    run("systemctl start outrider")
    expect(once()[0] == 200, "does not serve")


@step
def many_crashes_do_not_end_it():
    for _ in range(12):
        before = pid()
        os.kill(before, signal.SIGKILL)
        wait("another process", lambda: pid() not in (0, before))
    wait("it is active", is_active)
    expect(once()[0] == 200, "does not serve")


@step
def few_descriptors_are_told_and_lived_with():
    os.makedirs("/etc/systemd/system/outrider.service.d", exist_ok=True)
    with open("/etc/systemd/system/outrider.service.d/few.conf", "w") as file:
        file.write("[Service]\nLimitNOFILE=256\n")
    run("systemctl daemon-reload; systemctl restart outrider")
    expect("few file descriptors" in run("journalctl --unit outrider --no-pager --since -1min"), "nothing about it")
    crowd = []
    for _ in range(400):
        crowd.append(socket.create_connection(("127.0.0.1", 3128), 5))
    time.sleep(1)
    ticks = lambda: sum(int(field) for field in open(f"/proc/{pid()}/stat").read().split()[13:15])
    before = ticks()
    time.sleep(2)
    spent = (ticks() - before) / os.sysconf("SC_CLK_TCK")
    for client in crowd:
        client.close()
    expect(spent < 0.2, f"spent {spent} s of CPU on nothing")
    wait("it serves again", lambda: once()[0] == 200)
    os.remove("/etc/systemd/system/outrider.service.d/few.conf")
    os.rmdir("/etc/systemd/system/outrider.service.d")
    run("systemctl daemon-reload; systemctl restart outrider")
    return f"{spent} s of CPU in 2 s"


@step
def the_journal_has_fields():
    import json

    entries = [json.loads(line) for line in run("journalctl --unit outrider --output json --no-pager").splitlines()]
    own = [entry for entry in entries if entry.get("_TRANSPORT") == "journal" and entry.get("SYSLOG_IDENTIFIER") == "outrider"]
    expect(own, "no entries of its own")
    expect(all("PRIORITY" in entry and "MESSAGE" in entry for entry in own), "fields are missing")
    return f"{len(own)} entries"


step.extend(surroundings.step)


@step
def a_log_file_is_rotated():
    replace('#path = "-"', 'path = "/var/log/outrider/access.log"')
    run("systemctl reload outrider")
    once()
    wait("a line", lambda: os.path.exists("/var/log/outrider/access.log") and os.path.getsize("/var/log/outrider/access.log") > 0)
    run("logrotate --force /etc/logrotate.d/outrider")
    time.sleep(0.5)
    once()
    wait("a line in the new file", lambda: os.path.getsize("/var/log/outrider/access.log") > 0)
    expect(os.path.exists("/var/log/outrider/access.log.1"), "no old file")


@step
def a_full_disk_stops_no_traffic():
    run("systemctl stop outrider; mount -t tmpfs -o size=64k tmpfs /var/log/outrider; chown outrider: /var/log/outrider; systemctl start outrider")
    # A time would not do: in its second there are lines of the step before.
    cursor = run("journalctl --unit outrider --lines 0 --show-cursor").partition("cursor: ")[2].strip()
    with Load(kept=0, tunnels=0) as load:
        time.sleep(2)
    told = [line for line in run(f"journalctl --unit outrider --no-pager --output cat --after-cursor '{cursor}'").splitlines() if "access log" in line]
    lost = run("curl --silent --unix-socket /run/outrider/admin.sock 'http://localhost/stats?filter=access_log'")
    run("systemctl stop outrider; umount /var/log/outrider; systemctl start outrider")
    expect(not load.failures, load.figures())
    expect(len(told) == 1, f"told {len(told)} times: {told[:3]}")
    expect(re.search(r"write_failed\S*: [1-9]", lost), lost)
    return load.figures()


@step
def a_socket_unit_serves_a_low_port():
    recipe("Ports below 1024")
    expect(once(address=("127.0.0.1", 80))[0] == 200, "port 80 does not serve")
    for _ in range(5):
        run("systemctl restart outrider")
        expect(once(address=("127.0.0.1", 80))[0] == 200, "port 80 does not serve")
    run("systemctl disable --now outrider.socket; rm -r /etc/systemd/system/outrider.socket.d; systemctl daemon-reload; systemctl restart outrider")
    expect(once()[0] == 200, "the old port does not serve")


@step
def an_upgrade_under_load_keeps_the_edited_file():
    edited = open(CONFIG).read()
    figures = under_load(lambda: run("apt-get install --yes --no-install-recommends /packages/next.deb"))
    expect(open(CONFIG).read() == edited, "the file was changed")
    expect(run("dpkg-query --show --showformat '${Version}' outrider").strip() == os.environ["NEXT"], "another version")
    expect(is_active(), "not active")
    return figures


@step
def an_upgrade_leaves_a_stopped_service_stopped():
    run("systemctl stop outrider")
    run("apt-get install --yes --no-install-recommends --reinstall /packages/next.deb")
    expect(not is_active(), "it was started")
    run("systemctl start outrider")


@step
def removal_stops_it_and_keeps_the_configuration():
    run("apt-get remove --yes outrider")
    expect(not is_active() and not connects(3128), "still serves")
    expect(os.path.exists(CONFIG), "the configuration is gone")
    expect(not os.path.exists("/usr/bin/outrider"), "the program is there")


@step
def installed_again_it_serves_with_the_old_configuration():
    run("apt-get install --yes --no-install-recommends /packages/next.deb")
    expect(is_active() and once()[0] == 200, "does not serve")


@step
def an_installation_with_the_port_taken_says_what_to_do():
    run("apt-get purge --yes outrider")
    with socket.create_server(("127.0.0.1", 3128)):
        output = run("apt-get install --yes --no-install-recommends /packages/next.deb")
        expect("127.0.0.1:3128" in output and "systemctl start outrider" in output, output)
        expect("Could not execute" not in output, output)
    run("systemctl start outrider")
    expect(is_active(), "not active")


@step
def purge_leaves_nothing():
    run("systemctl enable outrider.socket")
    run("apt-get purge --yes outrider")
    left = run("find / -xdev \\( -path /proc -o -path /sys -o -path /tests -o -path /packages -o -path /results -o -path /var/cache "
               "-o -path /var/log/apt -o -path /var/log/journal -o -path /run/log \\) -prune -o -name '*outrider*' -print 2>/dev/null", expect=None)
    left = [path for path in left.split() if "outrider-test" not in path]
    expect(not left, f"left: {left}")
    expect("outrider" not in run("getent passwd; getent group"), "the user is there")


def configuration():
    return open(CONFIG).read() if os.path.exists(CONFIG) else None


def main():
    failed = []
    Origin()
    for function in step:
        name = function.__name__.replace("_", " ")
        before = configuration()
        try:
            result = function()
            print(f"ok     {name}" + (f": {result}" if result else ""))
        except Exception as error:
            failed.append(name)
            print(f"NOT OK {name}: {type(error).__name__}: {error}")
            print("".join(f"       | {line}\n" for line in run("journalctl --unit outrider --no-pager --lines 12 --output cat", expect=None).splitlines()), end="")
            # A step that stopped halfway is not to fail those after it.
            if None not in (before, configuration()):
                edit(lambda _: before)
            run("systemctl daemon-reload; systemctl reset-failed outrider; systemctl restart outrider", expect=None)
    print("all done")
    raise SystemExit(1 if failed else 0)


main()
