#!/usr/bin/env bash
# mypy-protobuf 3.6.0: a message with a field named `collections` gets stubs that mypy refuses.
#
# The stubs import the module `collections.abc`, and declare a property `collections` in the class of
# the message, whose annotations below it then mean the property.
# Expected: mypy accepts the stubs of a valid .proto file.
# Seen: an error `name-defined` in the stubs; with the field under another name there is none.
# Whoever cannot rename the field has to switch that error off for the stubs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
  "grpcio-tools==1.66.2" "mypy-protobuf==3.6.0" "mypy==1.18.2" "setuptools<81"
export PATH="$folder/env/bin:$PATH"
for field in collections groups; do
  mkdir "$folder/$field"
  cat > "$folder/$field/a.proto" <<PROTO
syntax = "proto3";
message Sets {
  repeated string $field = 1;
  repeated string names = 2;
}
PROTO
  python -m grpc_tools.protoc -I "$folder/$field" --python_out="$folder/$field" \
    --mypy_out=quiet:"$folder/$field" "$folder/$field/a.proto"
  (cd "$folder/$field" && mypy --ignore-missing-imports a_pb2.pyi) > "$folder/$field.txt" || true
  echo "a field named $field: $(tail -1 "$folder/$field.txt")"
done
grep -q "name-defined" "$folder/collections.txt"
! grep -q "name-defined" "$folder/groups.txt"
