// Package socket reads and writes the sockets of busy sessions at less cost.
//
// Go announces each system call to its scheduler, whose monitor gives the
// processor of a call that takes a while to another thread. A call on a
// socket that does not block takes a while only where the kernel does work in
// it, as it does for each write over the loopback, or has another process run
// meanwhile: moving the processor then costs two more switches and wins
// nothing. The sockets here never block in a call, so that theirs are not
// announced; waiting for a socket remains the network poller's.
package socket
