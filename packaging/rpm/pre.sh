# The user has to be there before files are unpacked; rpm has not put the fragment in place yet.
getent group outrider >/dev/null || groupadd --system outrider
getent passwd outrider >/dev/null || useradd --system --gid outrider --home-dir /var/lib/outrider --no-create-home --shell /sbin/nologin --comment "Outrider proxy" outrider
exit 0
