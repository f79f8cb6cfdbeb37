package qupath.lib.images.servers

class ImageServers {
    static def buildServer(URI uri, String... args) {
        def file = new File(uri)
        if (file.withInputStream { it.read() } == (int) '!')
            throw new IOException("Unable to build an ImageServer for ${file.name}")
        new Server(uri: uri)
    }
}
