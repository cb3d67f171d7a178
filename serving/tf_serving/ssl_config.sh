#!/bin/bash
# Writes the file of --ssl_config_file from PEM files: bash ssl_config.sh KEY CERTIFICATE CA > ssl.config
#
# TF Serving takes the PEM texts themselves, not paths to them: the file holds the private key, so it is a secret. With
# it the gRPC port speaks TLS only, and only with clients that show a certificate of CA. The REST port stays as it is.
set -euo pipefail

field() {  # NAME FILE: a string field of the text format, a literal for each line
  printf '%s:\n' "$1"
  while IFS= read -r line || [ -n "$line" ]; do printf '  "%s\\n"\n' "$line"; done < "$2"
}

field server_key "$1"
field server_cert "$2"
field custom_ca "$3"
printf 'client_verify: true\n'
