#!/bin/sh
# Gathers what the program needs and nothing else: image-root.sh PROGRAM FOLDER
set -eu
program=$1
root=$2
mkdir -p "$root/usr/bin" "$root/etc/doorward" "$root/etc/ssl/certs" "$root/var/lib/doorward" "$root/tmp"
chmod 700 "$root/var/lib/doorward"
chmod 1777 "$root/tmp"
cp "$program" "$root/usr/bin/doorward"
# The other name, which becomes the program when it is run.
cp "$(dirname "$program")/mcp-gateway" "$root/usr/bin/mcp-gateway"
# Its libraries, and their loader, under the names that it looks for.
ldd "$program" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
# Names and addresses are resolved by libraries that are loaded when they are needed.
for library in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
  found=$(ldconfig -p | awk -v name="$library" '$1 == name { print $NF; exit }')
  if [ -n "$found" ]; then
    mkdir -p "$root$(dirname "$found")"
    cp -L "$found" "$root$found"
  fi
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
echo 'doorward:x:65532:65532::/var/lib/doorward:/usr/bin/doorward' > "$root/etc/passwd"
echo 'doorward:x:65532:' > "$root/etc/group"
