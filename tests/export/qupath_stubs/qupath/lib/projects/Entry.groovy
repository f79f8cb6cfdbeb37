package qupath.lib.projects

import qupath.lib.images.ImageData
import qupath.lib.images.servers.Server

class Entry {
    String uri
    Map metadata = [:]
    List objects = []
    String type
    List pixelSize

    Collection<URI> getURIs() { [new URI(uri)] }
    String getMetadataValue(String key) { metadata[key] }
    String putMetadataValue(String key, String value) { metadata.put(key, value) }

    ImageData readImageData() {
        new ImageData(server: new Server(uri: new URI(uri)), objects: new ArrayList(objects),
            type: type == null ? null : ImageData.ImageType.valueOf(type), pixelSize: pixelSize)
    }

    void saveImageData(ImageData data) {
        objects = data.objects
        type = data.type?.name()
        pixelSize = data.pixelSize
    }
}
