"""Generate the modules under uactor/ from the contract under proto/.

For each proto/PATH/NAME.proto it makes PATH/NAME_pb2.py and _pb2.pyi, the
same for NAME_pb2_grpc where the file has services, and PATH/NAME.binpb: the
file and its imports as a FileDescriptorSet with comments, for reflection.

The output depends on nothing but proto/ and the versions of grpcio-tools and
mypy-protobuf, which requirements/proto.txt pins: `make proto` runs this file,
`make proto-check` runs it with --check.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = ('_pb2.py', '_pb2.pyi', '_pb2_grpc.py', '_pb2_grpc.pyi', '.binpb')


class CompilerError(Exception):
    """The compiler refused the input; it has said why on stderr."""


def generate(protos: Path) -> dict[Path, bytes]:
    """Compile every .proto file under `protos`.

    Returns the generated files by their path relative to the import root.
    Raises CompilerError when a file doesn't compile.
    """
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        for proto in sorted(protos.rglob('*.proto')):
            _compile(protos, proto, out)
        return {p.relative_to(out): p.read_bytes() for p in sorted(out.rglob('*')) if p.is_file()}


def _compile(protos: Path, proto: Path, out: Path) -> None:
    from grpc_tools import protoc

    name = proto.relative_to(protos)
    scripts = Path(sysconfig.get_path('scripts'))
    image = out / name.with_suffix('.binpb')
    image.parent.mkdir(parents=True, exist_ok=True)
    failed = protoc.main(
        [
            'protoc',
            f'-I{protos}',
            f'-I{importlib.resources.files("grpc_tools") / "_proto"}',
            f'--plugin=protoc-gen-mypy={scripts / "protoc-gen-mypy"}',
            f'--plugin=protoc-gen-mypy_grpc={scripts / "protoc-gen-mypy_grpc"}',
            f'--python_out={out}',
            f'--grpc_python_out={out}',
            f'--mypy_out=quiet:{out}',
            f'--mypy_grpc_out=quiet:{out}',
            f'--descriptor_set_out={image}',
            '--include_imports',
            '--include_source_info',
            str(name),
        ]
    )
    if failed:
        raise CompilerError(str(name))


def generated_files(root: Path, folders: set[Path]) -> set[Path]:
    """The generated files that `folders` of `root` hold now."""
    return {
        path.relative_to(root)
        for folder in folders
        for path in (root / folder).glob('*')
        if path.name.endswith(SUFFIXES)
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the generated files, or compare them with those on disk."""
    parser = argparse.ArgumentParser(description='Generate uactor/v1 from proto/.')
    parser.add_argument('--check', action='store_true', help='compare, write nothing')
    options = parser.parse_args(arguments)

    try:
        wanted = generate(ROOT / 'proto')
    except CompilerError as error:
        print(f'{error} does not compile', file=sys.stderr)
        return 1

    stale = [
        path
        for path, content in wanted.items()
        if not (ROOT / path).is_file() or (ROOT / path).read_bytes() != content
    ]
    extra = sorted(generated_files(ROOT, {path.parent for path in wanted}) - wanted.keys())

    if options.check:
        for path in stale:
            print(f'{path} is not what proto/ gives: run `make proto`', file=sys.stderr)
        for path in extra:
            print(f'{path} has no source in proto/: run `make proto`', file=sys.stderr)
        return 1 if stale or extra else 0

    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_bytes(wanted[path])
        print(f'wrote {path}')
    for path in extra:
        (ROOT / path).unlink()
        print(f'removed {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
