package throwaway

import (
	"fmt"
	"os"
	"path/filepath"
)

// CacheDir is where `make setup-tests` installs what Debian has no package for, and where ready-made
// data directories are kept: $SALLYPORT_CACHE, an absolute path, else /var/cache/sallyport for root (whose home nobody
// else may enter, and the servers run as somebody else), else sallyport in the user's cache directory.
// The directory may not exist yet. The script .ci/setup finds it in the same way.
func CacheDir() (string, error) {
	if dir := os.Getenv("SALLYPORT_CACHE"); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", fmt.Errorf("finding the cache directory: SALLYPORT_CACHE is not an absolute path: %q", dir)
		}
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/sallyport", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory (SALLYPORT_CACHE names one): %w", err)
	}
	return filepath.Join(dir, "sallyport"), nil
}
