if [ $1 -eq 0 ]; then
	systemctl --no-reload disable --now outrider.socket outrider.service >/dev/null 2>&1 || :
fi
exit 0
