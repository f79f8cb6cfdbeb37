package qupath.lib.images.servers

class Server {
    URI uri
    boolean open = true

    def getBuilder() { this }
    void close() {
        assert open
        open = false
    }
}
