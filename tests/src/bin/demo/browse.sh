# A browser made of curl: it keeps cookies, shows each address it is led to and what it gets there, and fills
# in the form of the provider.
#   sh browse JAR URL [USER PASSWORD [CODE]]
#   sh browse JAR sign-out [everywhere=1]
set -eu
jar=$1 page=$1.html

visit() {
    at=$1
    shift
    answer=$(curl -sS --cookie "$jar" --cookie-jar "$jar" -H 'Accept: text/html' -o "$page" \
        -w '%{http_code} %{redirect_url}' "$@" "$at")
    echo "${answer%% *} ${at%%\?*}"
    next=${answer#* }
    if [ -n "$next" ]; then visit "$next"; fi
}

field() {
    sed -n "s/.*name=\"$1\" value=\"\([^\"]*\)\".*/\1/p" "$page"
}

if [ "$2" = sign-out ]; then
    visit https://door.corp.example/sign-out --data "${3-}"
    # A browser goes there by itself.
    visit "$(sed -n 's/.*class="button" href="\([^"]*\)".*/\1/p' "$page" | sed 's/&amp;/\&/g')"
else
    visit "$2"
    if [ $# -gt 2 ] && grep -q 'name="password"' "$page"; then
        visit https://login.corp.example/login --data-urlencode "request=$(field request)" \
            --data-urlencode "csrf=$(field csrf)" --data-urlencode "user=$3" \
            --data-urlencode "password=$4" --data-urlencode "otp=${5-}"
    fi
fi
sed -n 's/.*<title>\([^<]*\)<.*/\1/p' "$page"
sed -n '/<pre>$/,/<\/pre>/p' "$page" | grep -v 'pre>' || true
