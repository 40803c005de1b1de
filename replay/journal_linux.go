package replay

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile allocates the first size bytes of a file and maps them.
func mapFile(f *os.File, size int) ([]byte, error) {
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Fallocate(int(f.Fd()), 0, 0, int64(size)).(unix.Errno)
	}
	switch err {
	case 0:
	case unix.EOPNOTSUPP, unix.ENOSYS:
		return nil, errNotMapped
	default:
		return nil, os.NewSyscallError("fallocate", err)
	}
	mem, merr := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if errors.Is(merr, unix.ENODEV) {
		return nil, errors.Join(errNotMapped, f.Truncate(0))
	}
	return mem, os.NewSyscallError("mmap", merr)
}

func unmap(mem []byte) error {
	if mem == nil {
		return nil
	}
	return os.NewSyscallError("munmap", unix.Munmap(mem))
}

func syncMapped(mem []byte) error {
	return os.NewSyscallError("msync", unix.Msync(mem, unix.MS_SYNC))
}
