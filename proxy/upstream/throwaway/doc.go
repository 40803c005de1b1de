// Package throwaway starts real database servers that end with the program that started them, for
// `sallyport demo` and for the integration tests.
//
// A server has its own data directory, its own directory for the Unix socket and a free port on
// 127.0.0.1. It ends when Stop is called, when the context given at the start is cancelled, and when
// this process dies, kill -9 included (the kernel's parent-death signal, so on Linux only). What a
// killed process leaves in the temporary directory is removed by the next start.
//
// The servers refuse to run as root: where this process is root they run as the user
// postgres if there is one, else as nobody.
//
// One is no real server: Points, in this process, stands in for Qdrant.
//
// The package is not for data that anyone wants to keep: fsync is off.
package throwaway
