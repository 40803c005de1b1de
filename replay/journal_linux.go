package replay

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives the first size bytes of a file blocks of the disk.
func allocate(f *os.File, size int) error {
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Fallocate(int(f.Fd()), 0, 0, int64(size)).(unix.Errno)
	}
	switch err {
	case 0:
		return nil
	case unix.EOPNOTSUPP, unix.ENOSYS:
		return errNotMapped
	}
	return os.NewSyscallError("fallocate", err)
}

// mapFile maps the first size bytes of a file. What lies beyond its end cannot
// be touched until it has blocks.
func mapFile(f *os.File, size int) ([]byte, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if errors.Is(err, unix.ENODEV) {
		return nil, errors.Join(errNotMapped, f.Truncate(0))
	}
	return mem, os.NewSyscallError("mmap", err)
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
