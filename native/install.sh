#!/usr/bin/env bash
# Installs what `--backend native` computes with: TensorFlow's C libraries and the addon of @tensorflow/tfjs-node, built here.
#
#   npm run native:install             for the processor
#   npm run native:install -- --gpu    for an NVIDIA GPU (x64); CUDA 12 and cuDNN 9 have to be there
#
# All of it comes out of package registries, by npm and Maven (or pip), so your own configuration of them counts. It goes into the folder
# SWARMGRAD_NATIVE, else ~/.cache/swarmgrad/native; no project is touched. Run it again whenever you like: what is there stays.
#   SWARMGRAD_NATIVE_SOURCE   maven or pip: where the libraries come from. Default: the first of them that is there.
set -euo pipefail

TFJS_NODE=4.22.0
NODE_API_HEADERS=1.9.0
MAVEN_VERSION=1.1.0 # of TensorFlow Java, which brings TensorFlow 2.18.0
PIP_VERSION=2.18.1

say() { printf '%s\n' "native: $*"; }
fail() {
  printf '%s\n' "native: $1" >&2
  exit "${2:-1}"
}
needs() { command -v "$1" >/dev/null || fail "$1 is needed, and not in PATH. $2"; }

kind=cpu
for word in "$@"; do
  case $word in
  --gpu) kind=gpu ;;
  *) fail "unknown argument '$word'; expected: --gpu, or nothing" 2 ;;
  esac
done

# What is needed where, what it weighs in MB, and what it has to be.
[[ "$(uname -s)" == Linux ]] || fail "$(uname -s) is not supported: Linux only. Go on with --backend wasm, which runs everywhere."
case "$(uname -m)-$kind" in
x86_64-cpu) classifier=linux-x86_64 maven_mb=161 disk_mb=683 maven_sha256=81b0e11290ba3b2e134901395ef59f1ae616f8ab7931f0d5c3eeb89c1b97c4e6 wheel=tensorflow-cpu wheel_mb=231 ;;
aarch64-cpu) classifier=linux-arm64 maven_mb=157 disk_mb=767 maven_sha256=3746b48054fd973531fe3ae097b8ec28a694aa2f0bf06e1ce8b5d1e0990390a2 wheel=tensorflow-cpu-aws wheel_mb=250 ;;
x86_64-gpu) classifier=linux-x86_64-gpu maven_mb=526 disk_mb=1252 maven_sha256=9e2c48fbc444e941dc09eb998b16c8d699c8ca950d2bf09ab90871137a982826 wheel=tensorflow wheel_mb=645 ;;
*) fail "no TensorFlow for $(uname -m) ($kind) in the registries. Go on with --backend wasm, which runs everywhere." ;;
esac

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="${SWARMGRAD_NATIVE:-${XDG_CACHE_HOME:-$HOME/.cache}/swarmgrad/native}"
mkdir -p "$root" || fail "$root cannot be written."
root="$(cd "$root" && pwd)"
folder="$root/$kind"

# Installed before, from the same sources? Then there is nothing to do.
sources="$(cat "$here/install.sh" "$here/environment.cc" "$here"/include/tensorflow/{c,c/eager,core/platform}/*.h | sha256sum | cut -c1-16)"
if [[ -f "$folder/installed.json" ]] && grep -q "\"sources\":\"$sources\"" "$folder/installed.json"; then
  say "TensorFlow is installed in $folder; nothing to do"
  exit 0
fi

needs node 'Install Node 20.19 or newer.'
needs npm 'It comes with Node.'
needs g++ "Install it, for example with 'apt-get install g++'."
needs unzip "Install it, for example with 'apt-get install unzip'."
source="${SWARMGRAD_NATIVE_SOURCE:-}"
if [[ -z "$source" ]]; then
  if command -v mvn >/dev/null; then source=maven; else source=pip; fi
fi
case $source in
maven) needs mvn "Install it, for example with 'apt-get install maven', or take SWARMGRAD_NATIVE_SOURCE=pip." ;;
pip) python3 -m pip --version >/dev/null 2>&1 || fail "Maven (mvn) or pip (python3 -m pip) is needed. Install one, for example with 'apt-get install maven'." ;;
*) fail "SWARMGRAD_NATIVE_SOURCE: expected maven or pip, got '$source'" 2 ;;
esac

mkdir -p "$root" || fail "cannot write into $root. Name another folder in SWARMGRAD_NATIVE."
free_mb="$(df -Pm "$root" | awk 'NR == 2 { print $4 }')"
((free_mb > 2 * disk_mb)) || fail "$((2 * disk_mb)) MB of disk are needed while it is installed, and $root has $free_mb. Name another folder in SWARMGRAD_NATIVE."

# One at a time; everything is made beside the folder, and takes its place when it is whole.
exec 9>"$root/$kind.lock"
if command -v flock >/dev/null; then flock 9; fi
work="$(mktemp -d "$root/$kind.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# npm_package NAME VERSION SHA512 FOLDER: unpacks a package without running anything of it.
npm_package() {
  mkdir -p "$work/$4"
  (cd "$work" && npm pack --silent --ignore-scripts "$1@$2" >"$work/packed") || fail "npm could not fetch $1@$2. Does your registry have it?"
  local file="$work/$(tail -n 1 "$work/packed")"
  [[ "$(node -p 'crypto.createHash("sha512").update(fs.readFileSync(process.argv[1])).digest("base64")' "$file")" == "$3" ]] ||
    fail "$1@$2 is not what it was: another SHA-512. Do not use this registry."
  tar -xzf "$file" -C "$work/$4" --strip-components=1
  rm "$file" "$work/packed"
}

say "fetching @tensorflow/tfjs-node $TFJS_NODE (0.2 MB) and node-api-headers $NODE_API_HEADERS (0.02 MB) by npm"
npm_package @tensorflow/tfjs-node $TFJS_NODE uHrXeUlfgkMxTZqHkESSV7zSdKdV0LlsBeblqkuKU9nnfxB1pC6DtoyYVaLxznzZy7WQSegjcohxxCjAf6Dc7w== tfjs-node
npm_package node-api-headers $NODE_API_HEADERS 2oNILP4jXwRB4ywnYKjVk1YyJ96n2D4EOVJO6S3oYZ5PtbJrw3Yt9TpAuX3nBLMuzn74rnfGQrv13pS9vC+YiA== headers

mkdir "$work/lib"
if [[ $source == maven ]]; then
  artifact="org.tensorflow:tensorflow-core-native:$MAVEN_VERSION:jar:$classifier"
  say "fetching $artifact ($maven_mb MB; $disk_mb MB on disk) by Maven"
  mvn -q -B dependency:copy -Dartifact="$artifact" -DoutputDirectory="$work" -Dmdep.useBaseVersion=true >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "Maven could not fetch $artifact. Does your repository have it? With pip: SWARMGRAD_NATIVE_SOURCE=pip"
  }
  archive="$(echo "$work"/*.jar)"
  [[ "$(sha256sum "$archive" | cut -d' ' -f1)" == "$maven_sha256" ]] || fail "$artifact is not what it was: another SHA-256. Do not use this repository."
else
  say "fetching $wheel==$PIP_VERSION (about $wheel_mb MB; about $disk_mb MB on disk) by pip, which checks its hash"
  python3 -m pip download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --python-version 3.11 \
    --platform "manylinux_2_17_$(uname -m)" --platform "manylinux2014_$(uname -m)" -d "$work" "$wheel==$PIP_VERSION" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "pip could not fetch $wheel==$PIP_VERSION. Does your index have it? With Maven: SWARMGRAD_NATIVE_SOURCE=maven"
  }
  archive="$(echo "$work"/*.whl)"
fi
unzip -qoj "$archive" '*/libtensorflow_cc.so.2' '*/libtensorflow_framework.so.2' -d "$work/lib" || fail "there is no TensorFlow in $(basename "$archive")"
rm "$archive"
chmod 755 "$work"/lib/*.so.2

say "building the addon"
# Names of attributes are kept in a set that all threads of a process would share without a lock: each worker gets its own.
sed -i 's/^static std::set<std::string> ATTR_NAME_SET;$/static thread_local std::set<std::string> ATTR_NAME_SET;/' "$work/tfjs-node/binding/tfjs_backend.cc"
grep -q '^static thread_local std::set' "$work/tfjs-node/binding/tfjs_backend.cc" || fail 'tfjs_backend.cc is not what it was'
# Node-API 8 only, so it serves every Node: no node-gyp, no headers of Node.
build() { # build OUTPUT SOURCE… [FLAGS]
  g++ -std=c++17 -O2 -fPIC -shared -DNAPI_VERSION=8 -DBUILDING_NODE_EXTENSION -DNODE_GYP_MODULE_NAME=tfjs_binding \
    -I"$work/headers/include" -I"$here/include" -o "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail 'g++ could not build the addon'
  }
}
build "$work/environment.node" "$here/environment.cc"
build "$work/addon.node" "$work/tfjs-node/binding/tfjs_backend.cc" "$work/tfjs-node/binding/tfjs_binding.cc" \
  -L"$work/lib" -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,'$ORIGIN/lib'
rm -rf "$work/headers" "$work/log"

# Also the proof that it can be loaded.
version="$(node -p 'require(process.argv[1]), require(process.argv[2]).TF_Version' "$work/environment.node" "$work/addon.node")" || fail 'the addon that was built cannot be loaded'
printf '{"v":1,"tensorflow":"%s","tfjsNode":"%s","kind":"%s","source":"%s","sources":"%s"}\n' "$version" $TFJS_NODE "$kind" "$source" "$sources" >"$work/installed.json"

rm -rf "$folder"
mv "$work" "$folder"
say "TensorFlow $version is installed in $folder ($(du -sm "$folder" | cut -f1) MB)"
