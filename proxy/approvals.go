package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/sallyport-proxy/sallyport/protocols"
	"github.com/sallyport-proxy/sallyport/proxy/approval"
	"github.com/sallyport-proxy/sallyport/proxy/console"
)

// approvalsView is the engine's holds as the console sees them.
type approvalsView struct{ e *Engine }

var _ console.Approvals = approvalsView{}

func (v approvalsView) Holds(ctx context.Context, who console.Who, state string, limit int) (any, error) {
	switch s := approval.State(state); s {
	case "", approval.Waiting, approval.Granted, approval.Denied, approval.Expired, approval.Cancelled:
		list, err := v.e.approvals.List(ctx, s, limit)
		by := v.approver(who)
		seen := []approval.Hold{}
		for _, h := range list {
			if by.Sees(&h) {
				seen = append(seen, h)
			}
		}
		return seen, err
	}
	return nil, &console.AnswerError{Status: http.StatusBadRequest, Message: "state must be waiting, granted, denied, expired or cancelled"}
}

func (v approvalsView) Hold(ctx context.Context, who console.Who, id string) (any, error) {
	h, err := v.e.approvals.Get(ctx, id)
	if by := v.approver(who); err == nil && !by.Sees(&h) {
		err = approval.ErrUnknown
	}
	return h, toAnswer(err)
}

// approver is who looks or answers: the admin token is one approver, whatever
// names it uses.
func (v approvalsView) approver(who console.Who) approval.Approver {
	if who.Admin {
		return approval.Approver{ID: "admin token", Name: who.Name, Via: "admin token", Admin: true}
	}
	return approval.Approver{ID: "identity " + who.Name, Name: who.Name, Groups: who.Groups}
}

// Answer takes an approver's answer.
func (v approvalsView) Answer(ctx context.Context, who console.Who, id string, a console.Answer) (any, error) {
	if who.Admin && !v.e.config.AdminApproves {
		return nil, &console.AnswerError{Status: http.StatusForbidden, Message: "the configuration does not let the admin token approve (console.admin_approves); log in as an identity"}
	}
	by := v.approver(who)
	var h approval.Hold
	var err error
	if a.Yes {
		h, err = v.e.approvals.Approve(ctx, id, by, approval.Terms{Uses: a.Uses, For: a.For}, a.Reason)
	} else {
		h, err = v.e.approvals.Deny(ctx, id, by, a.Reason)
	}
	if err == nil {
		v.e.log.Warn().Str("hold", id).Str("by", by.String()).Bool("yes", a.Yes).Str("state", string(h.State)).Msg("a hold was answered")
	}
	return h, toAnswer(err)
}

// Approver takes what any wire takes of an identity: its password, or its
// token under the token's own name.
func (v approvalsView) Approver(ctx context.Context, address, name, secret string) ([]string, bool) {
	e := v.e
	if now := e.now(); name == "" || !e.failures.MayTry(address, name, now) {
		return nil, false
	}
	c, err := e.book.Load().Identify(ctx, protocols.Login{User: name, Method: "token", Secret: secret, Address: address})
	if err != nil && !toRefused(err).Unavailable {
		e.failures.Failed(address, name, e.now())
	}
	return c.Groups, err == nil && !e.revoked.has(c.Name)
}

// toAnswer gives the errors that are the caller's fault their status.
func toAnswer(err error) error {
	status := 0
	switch {
	case err == nil:
		return nil
	case errors.Is(err, approval.ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, approval.ErrEnded), errors.Is(err, approval.ErrTwice):
		status = http.StatusConflict
	case errors.Is(err, approval.ErrOwn), errors.Is(err, approval.ErrNotApprover):
		status = http.StatusForbidden
	default:
		return err
	}
	return &console.AnswerError{Status: status, Message: err.Error()}
}
