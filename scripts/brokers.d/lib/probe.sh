# shellcheck shell=bash
# Asking a port whether a broker answers there, with nothing but bash.

# ask PORT BYTES COUNT: sends the bytes (printf escapes) and prints the first COUNT bytes of the answer in hex.
ask() {
  # shellcheck disable=SC2016 # the inner bash expands them
  timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "$2" >&3 && head -c "$3" <&3' ask "$@" 2>/dev/null |
    od -An -v -tx1 | tr -d ' \n'
}

# http_ok PORT PATH: whether a GET is answered by 200.
http_ok() {
  local status
  status=$(ask "$1" "GET $2 HTTP/1.1\r\nHost: 127.0.0.1:$1\r\nConnection: close\r\n\r\n" 12)
  # "HTTP/1.1 200" in hex.
  [[ $status == 485454502f312e3120323030 ]]
}
