package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"gocloud.dev/blob"

	"github.com/sallyport-proxy/sallyport/replay"
)

// Summarized is a session of a list. Err says why the summary is not whole.
type Summarized struct {
	replay.Summary
	Err error
}

// readers is how many sessions of a bucket are read at once.
const readers = 16

// Summaries are of all sessions with a transcript, oldest first. Of a bucket's it
// reads the ends of each alone, but for those that the ends do not tell of.
func (a *Archive) Summaries(ctx context.Context) ([]Summarized, error) {
	sessions, err := a.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	there, err := a.ends(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make([]Summarized, len(sessions))
	slots := make(chan struct{}, readers)
	var wg sync.WaitGroup
	for i, id := range sessions {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s, err := a.summary(ctx, id, there[id])
			out[i] = Summarized{s, err}
		})
	}
	wg.Wait()
	return out, ctx.Err()
}

// Summary is of one session.
func (a *Archive) Summary(ctx context.Context, session string) (replay.Summary, error) {
	there, err := a.ends(ctx, a.key(session))
	if err != nil {
		return replay.Summary{ID: session}, err
	}
	return a.summary(ctx, session, there[session])
}

func (a *Archive) summary(ctx context.Context, session string, e ends) (s replay.Summary, err error) {
	s, err = replay.Summarize(a.path(session), nil)
	if a.bucket == nil || !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if e.first != "" {
		s, err = replay.SummarizeEnds(session, &object{ctx, a.bucket, e.first}, &object{ctx, a.bucket, e.last}, e.size)
		if err == nil || errors.Is(err, replay.ErrEncrypted) {
			return s, err
		}
	}
	err = a.With(ctx, session, func(path string) error {
		s, err = replay.Summarize(path, nil)
		return err
	})
	s.ID = session
	return s, err
}

// ends are the keys of a session's first and last part in the bucket.
type ends struct {
	first, last string
	part        int
	size        int64 // of the last part
}

func (a *Archive) ends(ctx context.Context, prefix string) (map[string]ends, error) {
	out := map[string]ends{}
	if a.bucket == nil {
		return out, nil
	}
	err := a.objects(ctx, prefix, func(o *blob.ListObject) error {
		base, n, ok := replay.PartOf(o.Key)
		if !ok {
			return nil
		}
		e := out[path.Base(base)]
		if n == 1 {
			e.first = o.Key
		}
		if n > e.part {
			e.part, e.last, e.size = n, o.Key, o.Size
		}
		out[path.Base(base)] = e
		return nil
	})
	return out, err
}

// object reads ranges of one of the bucket's.
type object struct {
	ctx    context.Context
	bucket *blob.Bucket
	key    string
}

func (o *object) ReadAt(p []byte, offset int64) (int, error) {
	r, err := o.bucket.NewRangeReader(o.ctx, o.key, offset, int64(len(p)), nil)
	if err != nil {
		return 0, fmt.Errorf("reading %s of the bucket: %w", o.key, err)
	}
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, errors.Join(err, r.Close())
}
