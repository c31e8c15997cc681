#!/bin/sh
# Makes the authority and the server certificate that tests/door.rs uses.
# They are valid for a century and trusted by nobody else.
set -eu
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \
    -subj "/CN=Doorward test authority" -keyout authority.key -outform DER -out authority.der
openssl x509 -inform DER -in authority.der -out authority.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -subj "/CN=localhost" -keyout server.pem.key -out server.csr
printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > server.ext
openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 \
    -extfile server.ext -outform DER -out server.der
openssl pkcs8 -topk8 -nocrypt -in server.pem.key -outform DER -out server.key.der
rm -f authority.key authority.pem authority.srl server.pem.key server.csr server.ext
