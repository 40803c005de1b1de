//go:build unix && !linux

package throwaway

import "syscall"

// endWithParent does nothing where there is no parent-death signal: a killed program leaves its
// servers running.
func endWithParent(*syscall.SysProcAttr) {}

// children is empty where there is no /proc.
func children(int) []int { return nil }
