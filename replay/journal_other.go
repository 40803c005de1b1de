//go:build !linux

package replay

import "os"

func allocate(*os.File, int) error { return errNotMapped }

func mapFile(*os.File, int) ([]byte, error) { return nil, errNotMapped }

func unmap([]byte) error { return nil }

func syncMapped([]byte) error { return nil }
