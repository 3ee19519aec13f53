systemd-tmpfiles --create outrider.conf >/dev/null 2>&1 || :
if [ $1 -eq 1 ]; then
	systemctl --no-reload preset outrider.service >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload >/dev/null 2>&1 || :
	# As an administrator left it: a service that runs gets the new program, and its sockets stay open meanwhile.
	if [ $1 -gt 1 ]; then
		systemctl try-restart outrider.service >/dev/null 2>&1 || :
	fi
fi
exit 0
