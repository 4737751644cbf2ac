"""One process that makes system calls for a test and reports what they gave.

A test must not touch a mount from its own process (a daemon that hangs would hang the test, and a call from the serving
process deadlocks), so it starts this program and sends one JSON request per line on standard input:
{"id": 1, "op": "open", "path": "/mnt/x", "flags": "O_RDWR|O_CREAT"}. Each gets one line back, {"id": 1, "ok": VALUE} or
{"id": 1, "errno": "ENOENT", "message": "..."}. Bytes travel as base64, nanoseconds as decimal strings, and names that are
no UTF-8 as lone surrogates (PEP 383), as everywhere in the project.
"""

import base64
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import select
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
AT_SYMLINK_NOFOLLOW = 0x100
SYS_GETDENTS64 = {"x86_64": 217, "aarch64": 61}[os.uname().machine]
SYS_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}[os.uname().machine]

maps = {}


class Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
libc.syscall.restype = ctypes.c_long


def checked(result, path=None):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def number_of(names):
    """"O_RDWR|O_CREAT" -> the number."""
    return sum(getattr(os, name) for name in names.split("|")) if isinstance(names, str) else names


def b64(data):
    return base64.b64encode(data).decode()


def raw(text):
    return base64.b64decode(text)


def kind(mode):
    for name, test in (("file", stat.S_ISREG), ("dir", stat.S_ISDIR), ("symlink", stat.S_ISLNK), ("fifo", stat.S_ISFIFO)):
        if test(mode):
            return name
    return "other"


def stat_of(s):
    return {
        "ino": s.st_ino,
        "dev": s.st_dev,
        "kind": kind(s.st_mode),
        "mode": stat.S_IMODE(s.st_mode),
        "nlink": s.st_nlink,
        "uid": s.st_uid,
        "gid": s.st_gid,
        "size": s.st_size,
        "blocks": s.st_blocks,
        "atime_ns": str(s.st_atime_ns),
        "mtime_ns": str(s.st_mtime_ns),
        "ctime_ns": str(s.st_ctime_ns),
    }


def pattern(seed, offset, size):
    """Bytes that depend on their offset and the seed: a block at the wrong place is noticed."""
    block = 65536
    out = bytearray()
    at = offset
    while at < offset + size:
        index, skip = divmod(at, block)
        key = hashlib.sha256(b"%d:%d" % (seed, index)).digest()
        piece = (key * (block // len(key)))[skip : skip + offset + size - at]
        out += piece
        at += len(piece)
    return bytes(out)


def op_open(path, flags="O_RDONLY", mode=0o666):
    return os.open(path, number_of(flags), mode)


def op_pread(fd, size, offset):
    return b64(os.pread(fd, size, offset))


def op_read(fd, size):
    return b64(os.read(fd, size))


def op_write(fd, data):
    return os.write(fd, raw(data))


def op_pwrite(fd, data, offset):
    return os.pwrite(fd, raw(data), offset)


def op_lseek(fd, offset, whence="SEEK_SET"):
    return os.lseek(fd, offset, getattr(os, whence))


def op_stat(path):
    return stat_of(os.stat(path))


def op_lstat(path):
    return stat_of(os.lstat(path))


def op_fstat(fd):
    return stat_of(os.fstat(fd))


def op_statvfs(path):
    s = os.statvfs(path)
    return {"bsize": s.f_bsize, "frsize": s.f_frsize, "blocks": s.f_blocks, "bfree": s.f_bfree, "bavail": s.f_bavail,
            "files": s.f_files, "ffree": s.f_ffree, "namemax": s.f_namemax}


def op_renameat2(old, new, flags):
    ctypes.set_errno(0)
    checked(libc.syscall(SYS_RENAMEAT2, AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags), old)


def timespec(value):
    if value == "now":
        return Timespec(0, UTIME_NOW)
    if value == "omit":
        return Timespec(0, UTIME_OMIT)
    s, ns = divmod(int(value), 1_000_000_000)
    return Timespec(s, ns)


def op_utimens(path, atime, mtime, follow=True):
    times = (Timespec * 2)(timespec(atime), timespec(mtime))
    checked(libc.utimensat(AT_FDCWD, os.fsencode(path), times, 0 if follow else AT_SYMLINK_NOFOLLOW), path)


def op_futimens(fd, atime, mtime):
    checked(libc.futimens(fd, (Timespec * 2)(timespec(atime), timespec(mtime))))


def op_mknod(path, kind, mode=0o644, major=0, minor=0):
    kinds = {"file": stat.S_IFREG, "char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK}
    os.mknod(path, kinds[kind] | mode, os.makedev(major, minor))


def op_fallocate(fd, mode, offset, length):
    checked(libc.fallocate(fd, mode, offset, length))


def op_setxattr(path, name, value, flags=0, follow=True):
    os.setxattr(path, name, raw(value), flags, follow_symlinks=follow)


def op_getxattr(path, name, follow=True):
    return b64(os.getxattr(path, name, follow_symlinks=follow))


def op_listxattr(path, follow=True):
    return sorted(os.listxattr(path, follow_symlinks=follow))


def op_removexattr(path, name, follow=True):
    os.removexattr(path, name, follow_symlinks=follow)


def op_getxattr_small(path, name, size):
    """getxattr(2) with a buffer of `size` bytes: ERANGE when the value is larger, the value's size for 0."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    return checked(libc.getxattr(os.fsencode(path), name.encode(), buffer, size), path)


def op_flock(fd, how):
    fcntl.flock(fd, sum(getattr(fcntl, name) for name in how.split("|")))


def lock_record(kind, start, length):
    return struct.pack("hhqqi4x", getattr(fcntl, kind), os.SEEK_SET, start, length, 0)


def op_setlk(fd, kind, start=0, length=0, wait=False):
    fcntl.fcntl(fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK, lock_record(kind, start, length))


def op_getlk(fd, kind, start=0, length=0):
    answer = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, lock_record(kind, start, length)))
    names = {fcntl.F_RDLCK: "F_RDLCK", fcntl.F_WRLCK: "F_WRLCK", fcntl.F_UNLCK: "F_UNLCK"}
    return {"kind": names[answer[0]], "start": answer[2], "length": answer[3], "pid": answer[4]}


def op_mmap(fd, length, offset=0, share="MAP_SHARED", prot="PROT_READ|PROT_WRITE"):
    protection = sum(getattr(mmap, name) for name in prot.split("|"))
    handle = len(maps) + 1
    maps[handle] = mmap.mmap(fd, length, getattr(mmap, share), protection, offset=offset)
    return handle


class BareMap:
    """A mapping and nothing else: Python's own keeps a duplicate of the descriptor, and so the file open."""

    def __init__(self, fd, length):
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
        ctypes.set_errno(0)
        address = libc.mmap(None, length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        if address == ctypes.c_void_p(-1).value:
            checked(-1)
        self.address = address
        self.bytes = (ctypes.c_char * length).from_address(address)

    def __setitem__(self, at, data):
        self.bytes[at] = data

    def __getitem__(self, at):
        return self.bytes[at]

    def close(self):
        length = len(self.bytes)
        del self.bytes
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        checked(libc.munmap(self.address, length))


def op_mmap_bare(fd, length):
    handle = len(maps) + 1
    maps[handle] = BareMap(fd, length)
    return handle


def op_mmap_read(map, offset, size):
    return b64(maps[map][offset : offset + size])


def op_mmap_write(map, offset, data):
    data = raw(data)
    maps[map][offset : offset + len(data)] = data


def op_msync(map):
    maps[map].flush()


def op_munmap(map):
    maps.pop(map).close()


def op_getdents(fd, size=4096):
    """One getdents64(2): at least one entry unless at the end, each with the offset that lseek takes to go on after it."""
    buffer = ctypes.create_string_buffer(size)
    used = checked(libc.syscall(SYS_GETDENTS64, fd, buffer, size))
    entries = []
    at = 0
    while at < used:
        ino, offset, length, type_ = struct.unpack_from("<QqHB", buffer.raw, at)
        name = buffer.raw[at + 19 : at + length].split(b"\0", 1)[0]
        entries.append({"name": os.fsdecode(name), "ino": ino, "offset": str(offset), "type": type_})
        at += length
    return entries


def op_seek_dir(fd, offset):
    return str(os.lseek(fd, int(offset), os.SEEK_SET))


def op_listdir(path):
    return sorted(os.listdir(path))


def op_read_file(path):
    with open(path, "rb", buffering=0) as file:
        return b64(file.read())


def op_write_file(path, data, mode=0o666, sync=False, flags="O_WRONLY|O_CREAT|O_TRUNC"):
    fd = os.open(path, number_of(flags), mode)
    try:
        view = memoryview(raw(data))
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def op_fill(path, size, seed=0, offset=0, sync=False, chunk=1 << 20):
    """Writes `size` bytes of the seed's pattern at `offset`; the SHA-256 of what was written."""
    digest = hashlib.sha256()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        at = offset
        while at < offset + size:
            data = pattern(seed, at, min(chunk, offset + size - at))
            digest.update(data)
            view = memoryview(data)
            while view:
                written = os.pwrite(fd, view, at)
                view = view[written:]
                at += written
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    return digest.hexdigest()


def op_sha256(path, offset=0, size=None, chunk=1 << 20):
    digest = hashlib.sha256()
    total = 0
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        while size is None or total < size:
            data = file.read(chunk if size is None else min(chunk, size - total))
            if not data:
                break
            digest.update(data)
            total += len(data)
    return {"sha256": digest.hexdigest(), "size": total}


def op_pattern_sha256(size, seed=0, offset=0):
    digest = hashlib.sha256()
    for at in range(offset, offset + size, 1 << 20):
        digest.update(pattern(seed, at, min(1 << 20, offset + size - at)))
    return digest.hexdigest()


def op_append_lines(path, count, tag):
    """`count` single write(2) calls of one line each on an O_APPEND descriptor."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        for i in range(count):
            line = b"%s %06d\n" % (tag.encode(), i)
            if os.write(fd, line) != len(line):
                raise OSError(errno.EIO, "short write")
    finally:
        os.close(fd)


def op_make_files(path, count, size=0, prefix="f", folder=0, start=0):
    """`count` files PREFIX000000.. of `size` bytes; with `folder` = n, in sub-directories of n files each."""
    for i in range(start, start + count):
        where = path
        if folder:
            where = os.path.join(path, "d%05d" % (i // folder))
            if i % folder == 0:
                os.makedirs(where, exist_ok=True)
        fd = os.open(os.path.join(where, "%s%06d" % (prefix, i)), os.O_WRONLY | os.O_CREAT, 0o644)
        if size:
            os.write(fd, pattern(i, 0, size))
        os.close(fd)


def op_walk(path):
    """Counts what is below `path`, with a stat of each entry, as `find -ls` does."""
    files = dirs = size = 0
    pending = [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                s = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(s.st_mode):
                    dirs += 1
                    pending.append(entry.path)
                else:
                    files += 1
                    size += s.st_size
    return {"files": files, "dirs": dirs, "size": size}


def op_tree(path, times=False):
    """Everything below `path`: {relative path: [kind, mode, size, sha256 or link target, mtime_ns or None]}."""
    def refuse(error):
        raise error

    out = {}
    for folder, dirs, files in os.walk(path, onerror=refuse):
        for name in dirs + files:
            full = os.path.join(folder, name)
            s = os.lstat(full)
            what = kind(s.st_mode)
            content = None
            if what == "file":
                with open(full, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif what == "symlink":
                content = os.readlink(full)
            out[os.path.relpath(full, path)] = [what, stat.S_IMODE(s.st_mode), s.st_size if what == "file" else 0, content,
                                                str(s.st_mtime_ns) if times and what == "file" else None]
    return out


def op_copy_file_range(fd_in, fd_out, size, offset_in, offset_out):
    return os.copy_file_range(fd_in, fd_out, size, offset_in, offset_out)


def op_sendfile(fd_in, fd_out, size, offset):
    return os.sendfile(fd_out, fd_in, offset, size)


def op_batch(calls):
    return [answer(call) for call in calls]


def op_ids():
    return {"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid()}


def op_hold_descriptors(pid):
    """Keeps every open file of another process open beyond its end (pidfd_open(2), pidfd_getfd(2))."""
    pidfd = checked(libc.syscall(434, pid, 0))
    return [checked(libc.syscall(438, pidfd, int(fd), 0)) for fd in os.listdir("/proc/%d/fd" % pid)]


def op_rlimit_core():
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def op_poll_readable(fd, timeout_ms):
    return bool(select.select([fd], [], [], timeout_ms / 1000)[0])


OPS = {name[3:]: function for name, function in globals().items() if name.startswith("op_")}
OPS.update(
    close=lambda fd: os.close(fd),
    dup=lambda fd: os.dup(fd),
    fsync=lambda fd: os.fsync(fd),
    fdatasync=lambda fd: os.fdatasync(fd),
    ftruncate=lambda fd, size: os.ftruncate(fd, size),
    truncate=lambda path, size: os.truncate(path, size),
    mkdir=lambda path, mode=0o777: os.mkdir(path, mode),
    rmdir=lambda path: os.rmdir(path),
    unlink=lambda path: os.unlink(path),
    rename=lambda old, new: os.rename(old, new),
    link=lambda old, new: os.link(old, new),
    symlink=lambda target, path: os.symlink(target, path),
    readlink=lambda path: os.readlink(path),
    chmod=lambda path, mode: os.chmod(path, mode),
    fchmod=lambda fd, mode: os.fchmod(fd, mode),
    chown=lambda path, uid, gid: os.chown(path, uid, gid),
    lchown=lambda path, uid, gid: os.lchown(path, uid, gid),
    access=lambda path, mode: os.access(path, mode),
    umask=lambda mode: os.umask(mode),
    chdir=lambda path: os.chdir(path),
    sync=lambda: os.sync(),
)


def answer(request):
    request = dict(request)
    op = request.pop("op")
    try:
        return {"ok": OPS[op](**request)}
    except OSError as error:
        # ENOTSUP is another name of the same number.
        name = "EOPNOTSUPP" if error.errno == errno.EOPNOTSUPP else errno.errorcode.get(error.errno, str(error.errno))
        return {"errno": name, "message": "%s: %s" % (op, error)}
    except ValueError as error:
        # Python refuses a few things itself (an embedded NUL byte) before there is a system call.
        return {"errno": "EINVAL", "message": "%s: %s" % (op, error)}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        number = request.pop("id")
        sys.stdout.write(json.dumps({"id": number, **answer(request)}) + "\n")
        sys.stdout.flush()


main()
