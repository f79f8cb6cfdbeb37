package qupath.lib.scripting

import java.util.zip.GZIPInputStream
import groovy.json.JsonSlurper
import qupath.lib.images.ImageData
import qupath.lib.projects.Project

class QP {
    static ImageData current

    static Project getProject() { null }
    static ImageData getCurrentImageData() { current }
    static void setBatchProjectAndImage(Project project, ImageData data) { current = data }
    static void resetBatchProjectAndImage() { current = null }

    static boolean importObjectsFromFile(String path) {
        def file = new File(path)
        def stream = new FileInputStream(file)
        def text = (path.endsWith('.gz') ? new GZIPInputStream(stream) : stream).getText('UTF-8')
        current.objects.addAll(new JsonSlurper().parseText(text).features.collect { it.id })
    }

    static boolean setPixelSizeMicrons(Number width, Number height) {
        current.pixelSize = [width, height]
        true
    }
}
