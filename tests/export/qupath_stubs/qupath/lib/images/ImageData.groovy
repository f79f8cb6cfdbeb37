package qupath.lib.images

class ImageData {
    enum ImageType { BRIGHTFIELD_H_E, FLUORESCENCE }

    def server
    ImageType type
    List objects = []
    List pixelSize

    // PathObjectHierarchy's part
    def getHierarchy() { this }
    void clearAll() { objects.clear() }
}
