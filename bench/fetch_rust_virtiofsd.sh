#!/bin/bash
# Fetches the Rust virtiofsd of Debian 13 with apt into a private root, from where this machine's own apt has Debian.
#   fetch_rust_virtiofsd.sh DIR     writes DIR/command: the program and its arguments, one a line
# Fails, with the reason as the last line, where it can't be had. Nothing on the machine is installed or changed.
set -euo pipefail
dir=${1:?a directory}
release=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -s "$dir/command" ] && exit 0
uri=$(apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|$(COMPONENT)|$(SITE)|$(BASE_URI)|$(REPO_URI)' |
  awk -F'|' '$1 == "Packages" && $2 == "Debian" && $3 == "main" && $6 !~ /security/ { print $6; exit }')
[ -n "$uri" ] || { echo "apt has no source of Debian"; exit 1; }
mkdir -p "$dir"/{parts,lists/partial,cache/archives/partial,root}
dir=$(realpath "$dir")
echo "deb [signed-by=$keyring] $uri $release main" > "$dir/sources.list"
: > "$dir/status"
options=(-o "Dir::Etc::SourceList=$dir/sources.list" -o "Dir::Etc::SourceParts=$dir/parts"
  -o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir/cache" -o "Dir::State::Status=$dir/status"
  -o "APT::Sandbox::User=root" -o "Acquire::Languages=none")
apt-get "${options[@]}" -q update --error-on=any || { echo "no package list of $release"; exit 1; }
apt-get "${options[@]}" -q -y --no-install-recommends --download-only install virtiofsd ||
  { echo "apt can't fetch virtiofsd of $release"; exit 1; }
for package in "$dir"/cache/archives/*.deb; do dpkg-deb -x "$package" "$dir/root"; done
program=$(find "$dir/root" -name virtiofsd -type f -perm -u+x | head -n 1)
loader=$(find "$dir/root" -name 'ld-linux*.so.*' | head -n 1)
[ -n "$program" ] && [ -n "$loader" ] || { echo "the packages lack virtiofsd or its loader"; exit 1; }
libraries=$(dirname "$(find "$dir/root" -name libc.so.6 | head -n 1)")
"$loader" --library-path "$libraries" "$program" --version
printf '%s\n' "$loader" --library-path "$libraries" "$program" > "$dir/command"
