# shellcheck shell=bash
# A certificate authority of our own and one certificate for 127.0.0.1 and localhost, made at first start.

TLS=$RUN/tls
readonly TLS

tls_ensure() {
  mkdir -p "$TLS"
  (
    exec 8>"$TLS/lock"
    flock -w 60 8
    [[ -s $TLS/server.pem ]] || tls_make
  )
}

tls_make() {
  local log=$TLS/openssl.log
  say 'tls: making a certificate authority for loopback'
  {
    openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj '/CN=Forebay test CA' \
      -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
      -keyout "$TLS/ca.key" -out "$TLS/ca.pem"
    openssl req -newkey rsa:2048 -nodes -subj '/CN=localhost' -keyout "$TLS/server.key" -out "$TLS/server.csr"
    openssl x509 -req -sha256 -days 3650 -in "$TLS/server.csr" -CA "$TLS/ca.pem" -CAkey "$TLS/ca.key" \
      -CAcreateserial -out "$TLS/server.pem.draft" -extfile <(
        printf '%s\n' 'basicConstraints=CA:FALSE' 'extendedKeyUsage=serverAuth,clientAuth' \
          'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1'
      )
  } >"$log" 2>&1 || die "openssl could not make the certificates; see $log"
  # Kafka reads key and chain from one file.
  cat "$TLS/server.key" "$TLS/server.pem.draft" "$TLS/ca.pem" >"$TLS/kafka.pem"
  mv "$TLS/server.pem.draft" "$TLS/server.pem"
}
