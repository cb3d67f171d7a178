#!/bin/bash
# Ends with 0 if this server answers for $MODEL: bash health.sh. The image has bash, and neither curl nor wget.
#
# /v1/models/$MODEL answers 200 for a model that is still loading, or has failed to, too. Its metadata is only there
# when a version is.
set -euo pipefail

exec 3<> "/dev/tcp/127.0.0.1/${REST_PORT:-8501}"
printf 'GET /v1/models/%s/metadata HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$MODEL" >&3
read -r _ status _ <&3
[ "$status" = 200 ]
