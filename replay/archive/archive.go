// Package archive is where transcripts are: a folder, or a bucket of an
// S3-compatible store with a folder before it in which sessions are written
// until they have ended.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // s3://

	"github.com/sallyport-proxy/sallyport/replay"
)

// Archive is safe for concurrent use, and by several processes: one writes
// and ships, others read.
type Archive struct {
	root   string
	place  string
	bucket *blob.Bucket // nil for a folder alone

	shipping sync.Mutex      // one at a time
	shipped  map[string]bool // parts of open sessions, and catalogs, that are in the bucket
}

const noChecksum = "response_checksum_validation"

// Open opens the archive at place, which is file:PATH or s3://BUCKET?….  root
// is the folder: the archive's own, or the one before the bucket. The caller
// closes it.
func Open(ctx context.Context, place, root string) (*Archive, error) {
	a := New(nil, place, root)
	if strings.HasPrefix(place, "file:") {
		return a, nil
	}
	u, err := url.Parse(place)
	if err != nil {
		return nil, fmt.Errorf("opening the bucket of transcripts: %w", err)
	}
	// A store that sends no checksum is no problem worth a warning for each
	// object: a transcript has its own.
	q := u.Query()
	if !q.Has(noChecksum) {
		q.Set(noChecksum, "when_required")
	}
	u.RawQuery = q.Encode()
	if a.bucket, err = blob.OpenBucket(ctx, u.String()); err != nil {
		return nil, fmt.Errorf("opening the bucket of transcripts: %w", err)
	}
	return a, nil
}

// New is Open for a bucket at hand, nil for a folder alone.
func New(bucket *blob.Bucket, place, root string) *Archive {
	return &Archive{root: root, place: place, bucket: bucket, shipped: map[string]bool{}}
}

// Close closes the bucket.
func (a *Archive) Close() error {
	if a.bucket == nil {
		return nil
	}
	return a.bucket.Close()
}

// Remote says that there is a bucket to ship to.
func (a *Archive) Remote() bool { return a.bucket != nil }

// Reach says what keeps the bucket from being used, nil for nothing.
func (a *Archive) Reach(ctx context.Context) error {
	if a.bucket == nil {
		return nil
	}
	ok, err := a.bucket.IsAccessible(ctx)
	if err == nil && !ok {
		err = errors.New("there is no such bucket, or it may not be read")
	}
	return err
}

// Sessions lists the sessions with a transcript, oldest first.
func (a *Archive) Sessions(ctx context.Context) ([]string, error) {
	seen := map[string]bool{}
	files, err := replay.Files(a.root)
	if err != nil && !(a.bucket != nil && errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	for _, f := range files {
		seen[replay.SessionOf(f)] = true
	}
	if a.bucket != nil {
		err := a.each(ctx, "", func(key string) error {
			if base, _, ok := replay.PartOf(key); ok {
				seen[path.Base(base)] = true
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]string, 0, len(seen))
	for s := range seen {
		out = append(out, s)
	}
	slices.Sort(out)
	return out, nil
}

func (a *Archive) each(ctx context.Context, prefix string, f func(key string) error) error {
	return a.objects(ctx, prefix, func(o *blob.ListObject) error { return f(o.Key) })
}

func (a *Archive) objects(ctx context.Context, prefix string, f func(*blob.ListObject) error) error {
	it := a.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing the bucket of transcripts: %w", err)
		}
		if err := f(o); err != nil {
			return err
		}
	}
}

// Find resolves a session's id, a unique beginning or end of it, "first" or
// "last".
func (a *Archive) Find(ctx context.Context, id string) (string, error) {
	sessions, err := a.Sessions(ctx)
	if err != nil {
		return "", err
	}
	if len(sessions) == 0 {
		return "", fmt.Errorf("there are no transcripts in %s", a.place)
	}
	switch id {
	case "first":
		return sessions[0], nil
	case "last":
		return sessions[len(sessions)-1], nil
	}
	var found []string
	for _, s := range sessions {
		if s == id {
			return s, nil
		}
		if strings.HasPrefix(s, id) || strings.HasSuffix(s, id) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no session %q", id)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%q fits %d sessions; give more of its id", id, len(found))
}

// With gives f the path of a session's transcript: in the folder, or a copy
// of what the bucket has, which is gone afterwards. Where there is none the
// error is fs.ErrNotExist.
func (a *Archive) With(ctx context.Context, session string, f func(path string) error) error {
	local := a.path(session)
	if a.bucket == nil {
		return f(local)
	}
	// A session that ends meanwhile moves from the folder to the bucket.
	if err := f(local); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := os.MkdirTemp("", "sallyport-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	copied, err := a.Copy(ctx, session, dir)
	if err != nil {
		return err
	}
	return f(copied)
}

// Copy writes a session's transcript of the bucket into dir.
func (a *Archive) Copy(ctx context.Context, session, dir string) (string, error) {
	n := 0
	err := a.each(ctx, a.key(session), func(key string) error {
		if base, _, ok := replay.PartOf(key); !ok || path.Base(base) != session {
			return nil
		}
		n++
		return a.download(ctx, key, filepath.Join(dir, path.Base(key)))
	})
	if err == nil && n == 0 {
		err = &fs.PathError{Op: "open", Path: session + ".transcript", Err: fs.ErrNotExist}
	}
	return filepath.Join(dir, session+".transcript"), err
}

func (a *Archive) download(ctx context.Context, key, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := a.bucket.Download(ctx, key, f, nil); err != nil {
		return errors.Join(fmt.Errorf("reading %s of the bucket: %w", key, err), f.Close())
	}
	return f.Close()
}

// path is where the folder has a session's transcript, key where the bucket
// has the first part of it: by the day that its id begins with.
func (a *Archive) path(session string) string {
	return filepath.Join(a.root, filepath.FromSlash(a.key(session)))
}

func (a *Archive) key(session string) string { return replay.Day(session) + session + ".transcript" }

// Local is the path of a session in the folder.
func (a *Archive) Local(session string) string { return a.path(session) }

// Ship puts the complete parts into the bucket, and takes the sessions that
// have ended out of the folder once all their parts are there. It returns how
// many it took out. What it could not ship stays for the next time.
func (a *Archive) Ship(ctx context.Context) (ended int, err error) {
	if a.bucket == nil {
		return 0, nil
	}
	a.shipping.Lock()
	defer a.shipping.Unlock()
	files, err := replay.Files(a.root)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, f := range files {
		all, err := a.ship(ctx, f)
		if err != nil {
			errs = append(errs, err)
		} else if all {
			ended++
		}
	}
	catalogs, err := filepath.Glob(filepath.Join(a.root, "catalogs", "*.json.zst"))
	errs = append(errs, err)
	for _, f := range catalogs {
		errs = append(errs, a.upload(ctx, f))
	}
	return ended, errors.Join(errs...)
}

// ship ships one transcript, and says whether the session had ended.
func (a *Archive) ship(ctx context.Context, transcript string) (all bool, err error) {
	open := true
	if _, err := os.Stat(replay.Journal(transcript)); errors.Is(err, fs.ErrNotExist) {
		open = false
	} else if err != nil {
		return false, err
	}
	parts, err := replay.Parts(transcript)
	if err != nil {
		return false, err
	}
	if open && len(parts) > 0 {
		parts = parts[:len(parts)-1] // that one may still grow
	}
	for _, p := range parts {
		if err := a.upload(ctx, p); err != nil {
			return false, err
		}
	}
	if open {
		return false, nil
	}
	// The first one first: who reads meanwhile finds it gone, and so never
	// takes the rest for the whole.
	for _, p := range parts {
		if err := os.Remove(p); err != nil {
			return false, err
		}
		delete(a.shipped, p)
	}
	return true, nil
}

// upload copies a file into the bucket, unless it is known to be there.
func (a *Archive) upload(ctx context.Context, file string) error {
	if a.shipped[file] {
		return nil
	}
	err := a.copyUp(ctx, file)
	if err == nil {
		a.shipped[file] = true
	}
	return err
}

func (a *Archive) copyUp(ctx context.Context, file string) error {
	name, err := filepath.Rel(a.root, file)
	if err != nil {
		return err
	}
	key := filepath.ToSlash(name)
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := a.bucket.Upload(ctx, key, f, &blob.WriterOptions{ContentType: "application/zstd"}); err != nil {
		return fmt.Errorf("shipping %s to the bucket: %w", key, err)
	}
	there, err := a.bucket.Attributes(ctx, key)
	if err == nil && there.Size != info.Size() {
		err = fmt.Errorf("it has %d bytes there, and %d here", there.Size, info.Size())
	}
	if err != nil {
		return fmt.Errorf("shipping %s to the bucket: %w", key, err)
	}
	return nil
}

// ErrKept is the error of removing what is not to be removed yet: a session
// that is open, or has not been shipped.
var ErrKept = errors.New("the transcript is open, or not in the bucket yet")

// Remove deletes the transcript of a session that has ended, and says whether
// there was one.
func (a *Archive) Remove(ctx context.Context, session string) (was bool, err error) {
	a.shipping.Lock()
	defer a.shipping.Unlock()
	if _, err := os.Stat(replay.Journal(a.path(session))); err == nil {
		return false, ErrKept
	}
	parts, err := replay.Parts(a.path(session))
	if err != nil {
		return false, err
	}
	if a.bucket == nil {
		for _, p := range parts {
			if err := os.Remove(p); err != nil {
				return true, err
			}
		}
		return len(parts) > 0, nil
	}
	if len(parts) > 0 {
		return false, ErrKept
	}
	var keys []string
	err = a.each(ctx, a.key(session), func(key string) error {
		if base, _, ok := replay.PartOf(key); ok && path.Base(base) == session {
			keys = append(keys, key)
		}
		return nil
	})
	for _, key := range keys {
		err = errors.Join(err, a.bucket.Delete(ctx, key))
	}
	return len(keys) > 0, err
}
