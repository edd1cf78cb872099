#!/bin/sh
# The whole job on pictures made here: what a newcomer runs first. Called by `make demo`.
set -eu
: "${PYTHON:=python3}" "${BUILD:=build}" "${SHARED:=../shared/data}"
demo="$BUILD/demo"
weights="$SHARED/weights/mobilenet_v2_1.0_224_no_top.h5"

command -v java >/dev/null || [ -n "${JAVA_HOME:-}" ] || {
  echo "error: no Java here; Spark needs version 17, on the PATH or in JAVA_HOME" >&2
  exit 1
}

echo "1. pictures: eight kinds, and five broken files"
"$PYTHON" -m bootstrap pictures --out "$demo/pictures"

if [ -f "$weights" ]; then
  echo "2. network: MobileNetV2 with the trained weights in $SHARED"
else
  weights=random:0
  echo "2. network: MobileNetV2 with random weights, as $SHARED has none; good enough to see everything work"
fi
"$PYTHON" -m bootstrap compile --weights "$weights" --out "$demo/model" >/dev/null

echo "3. the job: features, principal components, projections"
"$PYTHON" -m job run --images "$demo/pictures" --results "$demo/results" --model "$demo/model/model.tflite" --components 4 --overwrite

echo "4. the picture"
"$PYTHON" -m bootstrap plot --results "$demo/results" --out "$demo/plot.png"
